"""The proxies under test, one module each, all behind the same small face (base.Contender)."""
