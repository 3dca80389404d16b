"""All families of nets against each other: the same data, machine, parameters and time."""
