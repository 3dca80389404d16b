"""The demo: `pixelar demo`, a web page that sends nothing to other machines.

`app` builds the page from `tabs`, which lay out `widgets` and call `tasks`. `inputs` reads what
users give, `render` draws results, and `server` serves the page.
"""
