"""Where the code of a deployment is, and how the side of its driver gets it. The service never sees code.

    references.py   a reference: {path | module | url | git | image}, checked
    fetch.py        reference -> folder, by way of a cache
    away.py         a place that does not answer is asked again
    remote.py  git.py   a kind each; git_words.py: what git may be asked

A cached folder is named by the digest of what was fetched, is made beside its place and put there by one rename: any
number of drivers may fetch the same code at once. It is the working folder of its runs, which may write into it.
"""
