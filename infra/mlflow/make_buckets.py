"""Make the buckets named on the command line where there are none; the store and its keys come from the environment, as
boto3 reads them.
"""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(names: list[str]) -> None:
    """Make each bucket that is not there yet."""
    if not names:
        sys.exit("make_buckets.py: name the buckets on the command line")
    try:
        store = boto3.client("s3")
        there = {bucket["Name"] for bucket in store.list_buckets()["Buckets"]}
        for name in names:
            if name not in there:
                store.create_bucket(Bucket=name)
            print(f"{name}: {'there already' if name in there else 'made'}")
    except (BotoCoreError, ClientError) as error:
        sys.exit(f"make_buckets.py: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
