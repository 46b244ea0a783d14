"""Financial statements as they were reported: the table, public layouts of files, features."""
