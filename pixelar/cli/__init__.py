"""The `pixelar` command."""
def main(argv=None):
    import sys
    from pixelar.cli.fit import fit
    return fit(sys.argv[2:])
