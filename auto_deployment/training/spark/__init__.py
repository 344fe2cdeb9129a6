"""`TRAINER=spark`: training on Spark. The lists are made by `auto_deployment.ranking.precompute_spark`."""
