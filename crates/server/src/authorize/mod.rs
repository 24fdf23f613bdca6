//! The server's `authorize` part.
