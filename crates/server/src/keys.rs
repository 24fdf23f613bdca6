//! Keys of the process: made once, stored wrapped under the root key, used here alone.
