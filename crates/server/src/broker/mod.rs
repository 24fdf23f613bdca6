//! The server's `broker` part.
