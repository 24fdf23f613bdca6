/**
 * A HAPI FHIR JPA server (R4) on one loopback port with H2 in memory: the real upstream of the interoperability tests.
 * Argument: the port. Links carry the host that the request named, so that a proxy may stand before it. Nothing outlives the process.
 */
package interop;

import ca.uhn.fhir.batch2.api.IJobMaintenanceService;
import ca.uhn.fhir.batch2.jobs.config.Batch2JobsConfig;
import ca.uhn.fhir.batch2.jobs.export.BulkDataExportProvider;
import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.jpa.api.config.JpaStorageSettings;
import ca.uhn.fhir.jpa.api.dao.IFhirSystemDao;
import ca.uhn.fhir.jpa.batch2.JpaBatch2Config;
import ca.uhn.fhir.jpa.config.HapiJpaConfig;
import ca.uhn.fhir.jpa.api.config.ThreadPoolFactoryConfig;
import ca.uhn.fhir.jpa.config.r4.JpaR4Config;
import ca.uhn.fhir.jpa.config.util.HapiEntityManagerFactoryUtil;
import ca.uhn.fhir.jpa.model.config.PartitionSettings;
import ca.uhn.fhir.jpa.model.config.SubscriptionSettings;
import ca.uhn.fhir.jpa.model.dialect.HapiFhirH2Dialect;
import ca.uhn.fhir.jpa.provider.JpaCapabilityStatementProvider;
import ca.uhn.fhir.jpa.provider.JpaSystemProvider;
import ca.uhn.fhir.jpa.search.DatabaseBackedPagingProvider;
import ca.uhn.fhir.jpa.subscription.channel.config.SubscriptionChannelConfig;
import ca.uhn.fhir.jpa.subscription.submit.config.SubscriptionSubmitterConfig;
import ca.uhn.fhir.rest.api.EncodingEnum;
import ca.uhn.fhir.rest.server.IncomingRequestAddressStrategy;
import ca.uhn.fhir.rest.server.RestfulServer;
import ca.uhn.fhir.rest.server.provider.ResourceProviderFactory;
import ca.uhn.fhir.rest.server.util.ISearchParamRegistry;
import jakarta.persistence.EntityManagerFactory;
import java.util.Properties;
import java.util.Set;
import javax.sql.DataSource;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.h2.jdbcx.JdbcConnectionPool;
import org.springframework.beans.factory.config.ConfigurableListableBeanFactory;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.context.annotation.Import;
import org.springframework.context.annotation.Primary;
import org.springframework.orm.jpa.JpaTransactionManager;
import org.springframework.orm.jpa.LocalContainerEntityManagerFactoryBean;
import org.springframework.transaction.annotation.EnableTransactionManagement;

public final class HapiServer {
    private static int port;

    private HapiServer() {}

    @Configuration
    @EnableTransactionManagement
    @Import({
        JpaR4Config.class,
        HapiJpaConfig.class,
        ThreadPoolFactoryConfig.class,
        JpaBatch2Config.class,
        Batch2JobsConfig.class,
        SubscriptionChannelConfig.class,
        SubscriptionSubmitterConfig.class
    })
    static class Config {
        @Bean
        JpaStorageSettings storageSettings() {
            JpaStorageSettings settings = new JpaStorageSettings();
            settings.setAdvancedHSearchIndexing(false);
            settings.setEnforceReferentialIntegrityOnWrite(false);
            settings.setEnforceReferenceTargetTypes(false);
            settings.setAllowExternalReferences(true);
            // An absolute reference to itself is a local one, also for searching.
            settings.setTreatBaseUrlsAsLocal(Set.of("http://127.0.0.1:" + port + "/fhir"));
            settings.setResourceClientIdStrategy(JpaStorageSettings.ClientIdStrategyEnum.ANY);
            settings.setReuseCachedSearchResultsForMillis(null);
            settings.setDeferIndexingForCodesystemsOfSize(0);
            settings.setAutoCreatePlaceholderReferenceTargets(false);
            return settings;
        }

        @Bean
        PartitionSettings partitionSettings() {
            return new PartitionSettings();
        }

        @Bean
        SubscriptionSettings subscriptionSettings() {
            return new SubscriptionSettings();
        }

        @Bean
        DataSource dataSource() {
            JdbcConnectionPool pool =
                    JdbcConnectionPool.create("jdbc:h2:mem:hapi;DB_CLOSE_DELAY=-1;CACHE_SIZE=131072", "sa", "");
            pool.setMaxConnections(20);
            return pool;
        }

        @Primary
        @Bean
        LocalContainerEntityManagerFactoryBean entityManagerFactory(
                ConfigurableListableBeanFactory beans, FhirContext fhir, DataSource source, JpaStorageSettings settings) {
            LocalContainerEntityManagerFactoryBean factory =
                    HapiEntityManagerFactoryUtil.newEntityManagerFactory(beans, fhir, settings);
            factory.setPersistenceUnitName("hapi");
            factory.setDataSource(source);
            Properties properties = new Properties();
            properties.put("hibernate.dialect", HapiFhirH2Dialect.class.getName());
            properties.put("hibernate.hbm2ddl.auto", "create");
            properties.put("hibernate.search.enabled", "false");
            properties.put("hibernate.jdbc.batch_size", "20");
            properties.put("hibernate.cache.use_query_cache", "false");
            properties.put("hibernate.cache.use_second_level_cache", "false");
            properties.put("hibernate.cache.use_structured_entries", "false");
            properties.put("hibernate.cache.use_minimal_puts", "false");
            factory.setJpaProperties(properties);
            return factory;
        }

        @Primary
        @Bean
        JpaTransactionManager transactionManager(EntityManagerFactory factory) {
            return new JpaTransactionManager(factory);
        }
    }

    public static void main(String[] args) throws Exception {
        port = Integer.parseInt(args[0]);

        AnnotationConfigApplicationContext beans = new AnnotationConfigApplicationContext(Config.class);
        FhirContext context = beans.getBean(FhirContext.class);
        RestfulServer fhir = new RestfulServer(context);
        fhir.registerProviders(beans.getBean(ResourceProviderFactory.class).createProviders());
        fhir.registerProvider(beans.getBean(JpaSystemProvider.class));
        fhir.registerProvider(beans.getBean(BulkDataExportProvider.class));
        JpaCapabilityStatementProvider capabilities = new JpaCapabilityStatementProvider(
                fhir,
                beans.getBean(IFhirSystemDao.class),
                beans.getBean(JpaStorageSettings.class),
                beans.getBean(ISearchParamRegistry.class),
                beans.getBean(IValidationSupport.class));
        capabilities.setImplementationDescription("HAPI FHIR JPA R4, test peer of Hilum");
        fhir.setServerConformanceProvider(capabilities);
        fhir.setPagingProvider(beans.getBean(DatabaseBackedPagingProvider.class));
        fhir.setServerAddressStrategy(new IncomingRequestAddressStrategy());
        fhir.setDefaultResponseEncoding(EncodingEnum.JSON);

        Server jetty = new Server();
        ServerConnector connector = new ServerConnector(jetty);
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        jetty.addConnector(connector);
        ServletContextHandler servlets = new ServletContextHandler("/");
        servlets.addServlet(new ServletHolder(fhir), "/fhir/*");
        jetty.setHandler(servlets);
        jetty.start();
        // Each step of an export waits for a maintenance pass, and by itself there is one a minute.
        IJobMaintenanceService maintenance = beans.getBean(IJobMaintenanceService.class);
        Thread passes = new Thread(() -> {
            while (true) {
                try {
                    Thread.sleep(2_000);
                    maintenance.runMaintenancePass();
                } catch (InterruptedException ended) {
                    return;
                } catch (RuntimeException failed) {
                    System.out.println("maintenance failed: " + failed);
                }
            }
        });
        passes.setDaemon(true);
        passes.start();
        System.out.println("ready on port " + port);
        jetty.join();
    }
}
