"""The web server, its limits, and its temporary files."""
