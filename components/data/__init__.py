"""The data room: downloading, WebDataset shards in and out, source lists, tables and content digests."""
