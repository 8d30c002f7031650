"""The hosts files of recipients: turns wanted lines into edits and writes them in place."""
