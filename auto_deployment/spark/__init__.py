"""`TRAINER=spark`: training and precomputing on Spark, see `auto_deployment.spark.als` and `auto_deployment.spark.lists`."""
