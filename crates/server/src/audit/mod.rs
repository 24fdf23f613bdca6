//! The server's `audit` part.
