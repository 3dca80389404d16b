"""The demo: `pixelar demo`, a web page of which nothing leaves the machine.

`pixelar.demo.app` makes the page, `pixelar.demo.serve` serves it.
"""
