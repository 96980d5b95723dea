"""Pure, independent parts of pixsem: no component imports another, `pipelines`, or Ray."""
