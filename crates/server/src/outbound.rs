//! Outgoing connections: vetted names and addresses, bounded answers, no redirects, no proxies.
