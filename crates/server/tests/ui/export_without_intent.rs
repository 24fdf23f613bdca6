//! An export is begun only by what proves that its intent is on record.

async fn begin(broker: &server::broker::Broker, tenant: &domain::TenantId, permit: policy::ExportPermit) {
    let _ = broker.begin_export(tenant, permit).await;
}

fn main() {}
