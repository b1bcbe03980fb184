//! Checks graphs and modules.
