"""Charts: data first, drawing second; no pyplot, no global state."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "BatchSizeChart": "hf_monitor.charts.batch_size",
        "Chart": "hf_monitor.charts.chart",
        "ConfidenceChart": "hf_monitor.charts.confidence",
        "Curve": "hf_monitor.charts.curves",
        "ErrorCasesChart": "hf_monitor.charts.error_cases",
        "FoldAccuracyChart": "hf_monitor.charts.fold_charts",
        "FoldDistributionChart": "hf_monitor.charts.fold_spread",
        "FoldF1Chart": "hf_monitor.charts.fold_charts",
        "FoldResults": "hf_monitor.charts.folds",
        "FoldScatterChart": "hf_monitor.charts.fold_scatter",
        "FoldStatisticsChart": "hf_monitor.charts.fold_spread",
        "GpuMemoryChart": "hf_monitor.charts.gpu_memory",
        "HyperparameterImportanceChart": "hf_monitor.charts.importance",
        "LearningRateChart": "hf_monitor.charts.learning_rate",
        "LossChart": "hf_monitor.charts.history",
        "ModelComparisonChart": "hf_monitor.charts.model_comparison",
        "Pictures": "hf_monitor.charts.pictures",
        "PredictionDistributionChart": "hf_monitor.charts.prediction_distribution",
        "SampleRankingChart": "hf_monitor.charts.sample_ranking",
        "Sweep": "hf_monitor.charts.sweep",
        "TrainingHistoryChart": "hf_monitor.charts.history",
        "create_inference_visualizations": "hf_monitor.charts.inference",
        "create_optimization_visualizations": "hf_monitor.charts.optimization",
        "create_training_visualizations": "hf_monitor.charts.training",
        "draw_history": "hf_monitor.charts.history",
    },
)
