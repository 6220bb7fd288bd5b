"""A change is told of as it is committed, also to who was cut off meanwhile."""

import threading

from intaglio.database.engine import bump_revision, migrate, open_engine, transaction
from intaglio.database.notices import Notices
from postgres import Server


def test_a_change_is_told_of_and_after_a_cut_again(store: Server) -> None:
    url = store.new_database()
    engine, other = open_engine(url, lasting=True), open_engine(url)
    with transaction(other) as connection:
        migrate(connection)
    told = threading.Event()

    def change() -> None:
        with transaction(other) as connection:
            bump_revision(connection)
            told.clear()
            # Not before it is committed.
            assert not told.wait(0.3)
        assert told.wait(10)

    notices = Notices(engine, told.set)
    notices.start()
    try:
        assert told.wait(10)
        change()
        with transaction(other) as connection:
            told.clear()
            cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
            assert connection.exec_driver_sql(cut).scalar_one()
        # It may have missed something.
        assert told.wait(10)
        change()
    finally:
        notices.stop()
    engine.dispose()
