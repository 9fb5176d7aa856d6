"""The same work done by Agent Lightning 0.3, each file a program for its own environment: options in, a sample out.

They use what its users use, and know nothing of lightning-actors.
"""
