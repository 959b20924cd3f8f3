//! A pass against a Redis that is a map.
