"""The sections of the report, one module a group; each function takes the records and returns a `page.Section`."""
