use domain::TenantId;
use policy::WritePermit;
use server::broker::Broker;

async fn shortcut(broker: &Broker, tenant: &TenantId, permit: WritePermit) {
    let _sent = broker.write_held(tenant, permit).await;
}

fn main() {}
