//! The server's `gate` part.
