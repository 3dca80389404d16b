"""What users give: pictures, painted canvases, regions to redraw, and examples to begin with."""
