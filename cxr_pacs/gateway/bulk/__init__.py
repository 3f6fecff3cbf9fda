"""Reading many files without a network: each once, in parallel, and again from where it was broken off.

::

    media ──▶ journal (what is to be done, what is done) ──▶ workers (threads, or a Ray cluster) ──▶ objects
                 └──────────────── studies are reported when their images are all read
"""
