//! The server's `registry` part.
