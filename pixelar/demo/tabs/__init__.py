"""The tabs of the page, one in each module: layout and events."""
