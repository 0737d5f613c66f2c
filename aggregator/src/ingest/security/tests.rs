//! Files, right and wrong.
