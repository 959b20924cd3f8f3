//! Repairs: every row of the table as a text that people can review (`tests/scenarios`), held
//! against the plan and against a real redis-server.

mod passes;
mod real;
mod scenario;
