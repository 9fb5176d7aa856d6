"""The cases, one file each, and what several of them need.

`agent`, `bare_ask` and `pool` are shared. `store_workload` and `import_probe` know no library: Agent Lightning is given
the same work by them.
"""
