//! The borders of cutting, by example, and with the contract's own caps.
