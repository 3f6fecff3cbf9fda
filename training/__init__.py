"""Trains the network from a folder of labelled radiographs and writes the bundle that serving loads."""
