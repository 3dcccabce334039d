"""Collections of design patents as they are downloaded, turned into lists, metadata and a config to train with.

A collection is read in parts, one per year or week (``shards``), which may be interrupted at any moment; the parts are
then joined into the lists (``dataset``). ``deeppatent2`` and ``uspto`` read the two formats.
"""
