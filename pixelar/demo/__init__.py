"""The demo: `pixelar demo`, a web page that sends nothing to other machines.

`pixelar.demo.app` builds the page, `pixelar.demo.server.serve` serves it.
"""
