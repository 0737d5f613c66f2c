//! The cutter against a model ([`model`], [`properties`]), and its borders by example ([`examples`]).

mod examples;
mod fuzz;
mod harness;
mod model;
mod properties;
mod tokens;
