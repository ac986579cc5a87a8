//! Groups of database servers.
