"""Pausing the search for garbage."""

import gc

import pytest

from biomeformer.runs.garbage_collection import paused_collection


@pytest.mark.parametrize("is_enabled", [True, False])
def test_collection_is_paused_and_then_as_before(is_enabled):
    was_enabled = gc.isenabled()
    try:
        (gc.enable if is_enabled else gc.disable)()
        with paused_collection():
            assert not gc.isenabled()
            with paused_collection():
                assert not gc.isenabled()
            assert not gc.isenabled()
        assert gc.isenabled() == is_enabled
        with pytest.raises(ImportError), paused_collection():
            raise ImportError("a module that is not installed")
        assert gc.isenabled() == is_enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
