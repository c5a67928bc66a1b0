import subprocess
import sys

import pytest

from pathomix.core.errors import PathomixError
from pathomix.core.registry import entry_of

REGISTRY = "pathomix.methods.registry:METHODS"


def test_gives_what_the_line_names():
    from pathomix.methods.ridge import Ridge

    assert entry_of(REGISTRY, "ridge", what="method", key="method") is Ridge


@pytest.mark.parametrize("name", ["rigde", None, 3])
def test_an_unknown_name_is_told_the_known_ones(name):
    with pytest.raises(PathomixError, match=r"unknown method .*`method` to one of .*'ridge'"):
        entry_of(REGISTRY, name, what="method", key="method")


def test_only_the_named_entry_is_imported():
    code = (
        "import sys; from pathomix.core.registry import entry_of; "
        f"entry_of({REGISTRY!r}, 'clinical', what='method', key='method'); "
        "print('pathomix.methods.transmil' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "False"
