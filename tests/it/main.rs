//! The user stories of the library, one module each, in one binary.
