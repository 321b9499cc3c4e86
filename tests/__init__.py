"""A package, so that tests of the plugins too can say `from tests.support import start_redis`."""
