//! Harm: what a story does to the programs, their connection and their files.

pub mod damage;
pub mod disk;
pub mod prefix;
pub mod relay;
