"""The demo: an archive, the gateway and three radiographs on one machine."""
