"""The web page and the HTTP API of `clipsep serve`, on top of the public Python API.

It takes uploads, queues them, and hands files back. Start at server.py. Nothing is imported here, so that
the process that decodes uploads starts quickly.
"""
