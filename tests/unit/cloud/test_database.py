"""Rights in a database: columns of tables, for a user whose name is plain."""

import pytest

from gpufarm.cloud import nova_database
from gpufarm.cloud.database import grants
from gpufarm.model.errors import DatabaseError


def test_grants_name_columns_and_nothing_else() -> None:
    reading = grants("gpufarm@10.0.0.5", "nova", "SELECT", nova_database.READ)
    assert all(line.startswith("GRANT SELECT (") for line in reading)
    assert all("TO 'gpufarm'@'10.0.0.5';" in line for line in reading)
    assert grants("gpufarm", "nova", "UPDATE", nova_database.WRITE) == (
        "GRANT UPDATE (status, updated_at) ON nova.migrations TO 'gpufarm'@'%';",
    )


@pytest.mark.parametrize("user", ["", "a b", "a'@'%", "a@b c", "a`", "a;DROP"])
def test_a_user_that_would_have_to_be_quoted(user: str) -> None:
    with pytest.raises(DatabaseError, match="plain user name"):
        grants(user, "nova", "SELECT", nova_database.READ)
