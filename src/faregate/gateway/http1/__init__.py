"""HTTP/1.1 as bytes: heads, chunks, paths, answers. Decides and rewrites; owns no socket and reads no
clock.
"""
