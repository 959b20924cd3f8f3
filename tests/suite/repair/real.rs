//! The scenarios against a real redis-server.
