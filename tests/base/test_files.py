"""Files that appear whole."""

import pytest

from mtqscore.base.files import replacing


@pytest.mark.parametrize("synced", [True, False])
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, synced):
    place = tmp_path / ("n" * 250)
    with replacing(place, synced=synced) as partial:
        partial.write_bytes(b"one")
        assert not place.exists()
    with pytest.raises(KeyboardInterrupt), replacing(place, synced=synced) as partial:
        partial.write_bytes(b"tw")
        raise KeyboardInterrupt
    assert place.read_bytes() == b"one"
    assert [*tmp_path.iterdir()] == [place]


def test_the_fault_of_a_file_that_was_never_written_is_an_os_error(tmp_path):
    with pytest.raises(OSError), replacing(tmp_path / "never"):
        pass
