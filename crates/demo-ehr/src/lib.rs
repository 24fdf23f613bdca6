//! demo-ehr
