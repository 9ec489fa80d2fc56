-- all_attempt
SELECT
  "t0"."label",
  "t0"."status",
  "t0"."error_kind",
  "t0"."bin",
  "t0"."is_cut_off",
  SUM("t0"."n") AS "n",
  SUM("t0"."answered") AS "answered"
FROM "attempt_sum" AS "t0"
GROUP BY
  1,
  2,
  3,
  4,
  5

-- all_count
SELECT
  "t0"."name",
  "t0"."label",
  "t0"."key",
  "t0"."other",
  SUM("t0"."n") AS "n",
  SUM("t0"."total") AS "total",
  COUNT(*) AS "sessions"
FROM "count_sum" AS "t0"
GROUP BY
  1,
  2,
  3,
  4

-- all_episode
SELECT
  *
FROM "episode_sum" AS "t0"

-- all_session
SELECT
  "t0"."id" AS "sum",
  "t0"."attempts_A",
  "t0"."failed_A",
  "t0"."cost_A",
  "t0"."priced_A",
  "t0"."tokens_in_A",
  "t0"."tokens_out_A",
  "t0"."timed_A",
  "t0"."log_latency_A",
  "t0"."attempts_B",
  "t0"."failed_B",
  "t0"."cost_B",
  "t0"."priced_B",
  "t0"."tokens_in_B",
  "t0"."tokens_out_B",
  "t0"."timed_B",
  "t0"."log_latency_B"
FROM "session_sum" AS "t0"

-- arms
SELECT
  *
FROM "arm" AS "t0"
ORDER BY
  "t0"."id" ASC

-- details_attempt
SELECT
  "t5"."number",
  "t5"."label",
  "t5"."status",
  "t5"."error_kind",
  "t5"."bin",
  "t5"."is_cut_off",
  COUNT(*) AS "n",
  SUM("t5"."is_answer") AS "answered",
  COALESCE(SUM("t5"."cost_nanousd"), 0) AS "cost",
  COUNT("t5"."cost_nanousd") AS "priced",
  COALESCE(SUM("t5"."tokens_in"), 0) AS "tokens_in",
  COALESCE(SUM("t5"."tokens_out"), 0) AS "tokens_out",
  SUM("t5"."log") AS "log_latency"
FROM (
  SELECT
    "t4"."number",
    "t2"."label",
    "t2"."status",
    "t2"."error_kind",
    "t2"."cost_nanousd",
    "t2"."tokens_in",
    "t2"."tokens_out",
    CASE
      WHEN (
        "t2"."latency_ms" IS NOT NULL
      ) AND (
        "t2"."is_cache_hit" = 0
      )
      THEN CAST(FLOOR(
        LN(
          CASE
            WHEN "t2"."latency_ms" IS NULL
            THEN "t2"."latency_ms"
            ELSE GREATEST(0.001, "t2"."latency_ms")
          END
        ) / 0.01980262729617973
      ) AS BIGINT)
      ELSE CAST(NULL AS BIGINT)
    END AS "bin",
    CASE
      WHEN (
        "t2"."latency_ms" IS NOT NULL
      ) AND (
        "t2"."is_cache_hit" = 0
      )
      THEN CAST(ROUND(
        LN(
          CASE
            WHEN "t2"."latency_ms" IS NULL
            THEN "t2"."latency_ms"
            ELSE GREATEST(0.001, "t2"."latency_ms")
          END
        ) * 1000000,
        0
      ) AS BIGINT)
      ELSE 0
    END AS "log",
    CASE
      WHEN (
        "t2"."latency_ms" IS NULL
      )
      AND (
        "t2"."sent_ns" IS NOT NULL
      )
      AND (
        "t2"."is_cache_hit" = 0
      )
      THEN 1
      ELSE 0
    END AS "is_cut_off",
    CASE WHEN (
      "t2"."is_shown" = 1
    ) AND (
      "t2"."status" = 'ok'
    ) THEN 1 ELSE 0 END AS "is_answer"
  FROM (
    SELECT
      "t0"."task_id",
      "t0"."number"
    FROM "details_task" AS "t0"
  ) AS "t4"
  INNER JOIN "attempt" AS "t2"
    ON "t4"."task_id" = "t2"."task"
) AS "t5"
GROUP BY
  1,
  2,
  3,
  4,
  5,
  6

-- details_count
SELECT
  *
FROM (
  SELECT
    *
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t28"."number",
        'stands' AS "name",
        "t28"."label",
        "t28"."state" AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t28"."n",
        0.0 AS "total"
      FROM (
        SELECT
          "t21"."number",
          "t21"."label",
          "t21"."state",
          COUNT(*) AS "n"
        FROM (
          SELECT
            "t0"."number",
            "t0"."label",
            CASE
              WHEN "t0"."kept_30" IS NULL
              THEN '0'
              WHEN "t0"."kept_30" < 0.5
              THEN '1'
              ELSE '2'
            END || CASE
              WHEN "t0"."kept_120" IS NULL
              THEN '0'
              WHEN "t0"."kept_120" < 0.5
              THEN '1'
              ELSE '2'
            END || CASE
              WHEN "t0"."kept_300" IS NULL
              THEN '0'
              WHEN "t0"."kept_300" < 0.5
              THEN '1'
              ELSE '2'
            END || CASE
              WHEN "t0"."kept_600" IS NULL
              THEN '0'
              WHEN "t0"."kept_600" < 0.5
              THEN '1'
              ELSE '2'
            END AS "state"
          FROM "details_taken" AS "t0"
        ) AS "t21"
        GROUP BY
          1,
          2,
          3
      ) AS "t28"
    ) AS "t32"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t15"."number",
        'share' AS "name",
        "t15"."label",
        '30' AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t15"."n",
        "t15"."stands" AS "total"
      FROM (
        SELECT
          "t0"."number",
          "t0"."label",
          COUNT("t0"."kept_30") AS "n",
          COALESCE(SUM("t0"."kept_30"), 0.0) AS "stands"
        FROM "details_taken" AS "t0"
        GROUP BY
          1,
          2
      ) AS "t15"
    ) AS "t22"
  ) AS "t33"
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t16"."number",
        'share' AS "name",
        "t16"."label",
        '120' AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t16"."n",
        "t16"."stands" AS "total"
      FROM (
        SELECT
          "t0"."number",
          "t0"."label",
          COUNT("t0"."kept_120") AS "n",
          COALESCE(SUM("t0"."kept_120"), 0.0) AS "stands"
        FROM "details_taken" AS "t0"
        GROUP BY
          1,
          2
      ) AS "t16"
    ) AS "t23"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t17"."number",
        'share' AS "name",
        "t17"."label",
        '300' AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t17"."n",
        "t17"."stands" AS "total"
      FROM (
        SELECT
          "t0"."number",
          "t0"."label",
          COUNT("t0"."kept_300") AS "n",
          COALESCE(SUM("t0"."kept_300"), 0.0) AS "stands"
        FROM "details_taken" AS "t0"
        GROUP BY
          1,
          2
      ) AS "t17"
    ) AS "t24"
  ) AS "t26"
) AS "t36"
UNION ALL
SELECT
  *
FROM (
  SELECT
    *
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t18"."number",
        'share' AS "name",
        "t18"."label",
        '600' AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t18"."n",
        "t18"."stands" AS "total"
      FROM (
        SELECT
          "t0"."number",
          "t0"."label",
          COUNT("t0"."kept_600") AS "n",
          COALESCE(SUM("t0"."kept_600"), 0.0) AS "stands"
        FROM "details_taken" AS "t0"
        GROUP BY
          1,
          2
      ) AS "t18"
    ) AS "t25"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        "t9"."number",
        'day' AS "name",
        CAST(NULL AS TEXT) AS "label",
        "t9"."disposition" AS "key",
        "t9"."day" AS "other",
        "t9"."n",
        0.0 AS "total"
      FROM (
        SELECT
          "t1"."number",
          "t1"."disposition",
          "t1"."day",
          COUNT(*) AS "n"
        FROM "details_task" AS "t1"
        GROUP BY
          1,
          2,
          3
      ) AS "t9"
    ) AS "t19"
  ) AS "t27"
  UNION ALL
  SELECT
    *
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t35"."number",
        'incident' AS "name",
        CAST(NULL AS TEXT) AS "label",
        "t35"."kind" AS "key",
        CAST(NULL AS TEXT) AS "other",
        "t35"."n",
        0.0 AS "total"
      FROM (
        SELECT
          "t30"."number",
          "t30"."kind",
          SUM("t30"."count") AS "n"
        FROM (
          SELECT
            "t6"."id",
            "t6"."session",
            "t6"."kind",
            "t6"."count",
            "t6"."detail",
            "t6"."happened_ns",
            "t6"."happened_at",
            "t14"."whose",
            "t14"."number"
          FROM "incident" AS "t6"
          INNER JOIN (
            SELECT
              "t3"."session" AS "whose",
              "t3"."number"
            FROM "chosen" AS "t3"
          ) AS "t14"
            ON "t6"."session" = "t14"."whose"
        ) AS "t30"
        GROUP BY
          1,
          2
      ) AS "t35"
    ) AS "t38"
    UNION ALL
    SELECT
      *
    FROM (
      SELECT
        *
      FROM (
        SELECT
          "t34"."number",
          'exposed' AS "name",
          "t34"."label",
          CAST(NULL AS TEXT) AS "key",
          CAST(NULL AS TEXT) AS "other",
          "t34"."n",
          0.0 AS "total"
        FROM (
          SELECT
            "t29"."number",
            "t29"."label",
            COUNT(DISTINCT "t29"."task") AS "n"
          FROM (
            SELECT
              "t12"."task_id",
              "t12"."number",
              "t7"."id",
              "t7"."suggestion",
              "t7"."task",
              "t7"."label",
              "t7"."surface",
              "t7"."rank",
              "t7"."offered_ns",
              "t7"."offered_at"
            FROM (
              SELECT
                "t1"."task_id",
                "t1"."number"
              FROM "details_task" AS "t1"
            ) AS "t12"
            INNER JOIN "exposure" AS "t7"
              ON "t12"."task_id" = "t7"."task"
          ) AS "t29"
          GROUP BY
            1,
            2
        ) AS "t34"
      ) AS "t37"
      UNION ALL
      SELECT
        *
      FROM (
        SELECT
          "t39"."number",
          'offered' AS "name",
          "t39"."label",
          "t39"."language" AS "key",
          "t39"."place" AS "other",
          "t39"."n",
          CAST("t39"."taken" AS DOUBLE) AS "total"
        FROM (
          SELECT
            "t31"."number",
            "t31"."label",
            "t31"."language",
            "t31"."place",
            COUNT(*) AS "n",
            SUM(CASE WHEN "t31"."outcome" IN ('accepted', 'partly_accepted') THEN 1 ELSE 0 END) AS "taken"
          FROM (
            SELECT
              "t20"."task_id",
              "t20"."number",
              "t20"."language",
              "t20"."place",
              "t8"."id",
              "t8"."suggestion",
              "t8"."task",
              "t8"."label",
              "t8"."outcome",
              "t8"."rule",
              "t8"."accepted_chars",
              "t8"."decided_ns",
              "t8"."decided_at",
              "t8"."detail"
            FROM (
              SELECT
                "t1"."task_id",
                "t1"."number",
                "t1"."language",
                "t1"."place"
              FROM "details_task" AS "t1"
              WHERE
                "t1"."assignment" IS NOT NULL
            ) AS "t20"
            INNER JOIN "outcome" AS "t8"
              ON "t20"."task_id" = "t8"."task"
          ) AS "t31"
          GROUP BY
            1,
            2,
            3,
            4
        ) AS "t39"
      ) AS "t40"
    ) AS "t41"
  ) AS "t42"
) AS "t43"

-- details_episode
SELECT
  "t20"."number",
  "t20"."position",
  "t7"."pair_a",
  "t7"."pair_b",
  "t7"."pair_requests",
  COALESCE("t18"."tasks", 0) AS "tasks",
  COALESCE("t18"."asked", 0) AS "asked",
  COALESCE("t18"."routed", 0) AS "routed",
  COALESCE("t14"."accepted", 0) AS "accepted",
  COALESCE("t14"."accepted_chars", 0) AS "accepted_chars",
  COALESCE("t14"."kept_chars", 0.0) AS "kept_chars",
  CAST(SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      0 + 1
    ) >= 1 THEN 0 + 1 ELSE 0 + 1 + LENGTH("t20"."opened_at") END,
    4
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      5 + 1
    ) >= 1 THEN 5 + 1 ELSE 5 + 1 + LENGTH("t20"."opened_at") END,
    2
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      8 + 1
    ) >= 1 THEN 8 + 1 ELSE 8 + 1 + LENGTH("t20"."opened_at") END,
    2
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      11 + 1
    ) >= 1 THEN 11 + 1 ELSE 11 + 1 + LENGTH("t20"."opened_at") END,
    2
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      14 + 1
    ) >= 1 THEN 14 + 1 ELSE 14 + 1 + LENGTH("t20"."opened_at") END,
    2
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      17 + 1
    ) >= 1 THEN 17 + 1 ELSE 17 + 1 + LENGTH("t20"."opened_at") END,
    2
  ) || SUBSTRING(
    "t20"."opened_at",
    CASE WHEN (
      20 + 1
    ) >= 1 THEN 20 + 1 ELSE 20 + 1 + LENGTH("t20"."opened_at") END,
    3
  ) AS BIGINT) AS "opened",
  CAST(FLOOR(COALESCE("t20"."closes_ns" - "t20"."opened_ns", 0) / 1000000) AS BIGINT) AS "window_ms",
  CASE WHEN "t20"."shown" = 'A' THEN 1 WHEN "t20"."shown" = 'B' THEN 2 ELSE 0 END AS "shown",
  "t20"."propensity_a" AS "share_a",
  "t20"."propensity_b" AS "share_b",
  "t20"."propensity_none" AS "share_none"
FROM (
  SELECT
    "t15"."id",
    "t15"."trial",
    "t15"."session",
    "t15"."unit",
    "t15"."document",
    "t15"."shown",
    "t15"."propensity_a",
    "t15"."propensity_b",
    "t15"."propensity_none",
    "t15"."is_sampled",
    "t15"."reason",
    "t15"."opened_ns",
    "t15"."opened_at",
    "t15"."closes_ns",
    "t15"."whose",
    "t15"."number",
    ROW_NUMBER() OVER (
      PARTITION BY "t15"."number"
      ORDER BY "t15"."opened_at" ASC, "t15"."id" ASC
      ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
    ) - 1 AS "position"
  FROM (
    SELECT
      "t12"."id",
      "t12"."trial",
      "t12"."session",
      "t12"."unit",
      "t12"."document",
      "t12"."shown",
      "t12"."propensity_a",
      "t12"."propensity_b",
      "t12"."propensity_none",
      "t12"."is_sampled",
      "t12"."reason",
      "t12"."opened_ns",
      "t12"."opened_at",
      "t12"."closes_ns",
      "t11"."whose",
      "t11"."number"
    FROM (
      SELECT
        *
      FROM "assignment" AS "t2"
      WHERE
        "t2"."unit" = 'episode' AND "t2"."is_sampled" = 1
    ) AS "t12"
    INNER JOIN (
      SELECT
        "t4"."session" AS "whose",
        "t4"."number"
      FROM "chosen" AS "t4"
    ) AS "t11"
      ON "t12"."session" = "t11"."whose"
  ) AS "t15"
) AS "t20"
LEFT OUTER JOIN (
  SELECT
    "t16"."assignment" AS "task_episode",
    "t16"."tasks",
    "t16"."asked",
    "t16"."routed"
  FROM (
    SELECT
      "t10"."assignment",
      COUNT(*) AS "tasks",
      SUM(CASE WHEN "t10"."disposition" IN ('routed', 'reused') THEN 1 ELSE 0 END) AS "asked",
      SUM(CASE WHEN "t10"."disposition" = 'routed' THEN 1 ELSE 0 END) AS "routed"
    FROM (
      SELECT
        *
      FROM "details_task" AS "t3"
      WHERE
        "t3"."assignment" IS NOT NULL
    ) AS "t10"
    GROUP BY
      1
  ) AS "t16"
) AS "t18"
  ON "t20"."id" = "t18"."task_episode"
LEFT OUTER JOIN (
  SELECT
    "t8"."assignment" AS "taken_episode",
    "t8"."accepted",
    "t8"."accepted_chars",
    "t8"."kept_chars"
  FROM (
    SELECT
      "t1"."assignment",
      COUNT(*) AS "accepted",
      SUM("t1"."chars") AS "accepted_chars",
      SUM("t1"."stands") AS "kept_chars"
    FROM "details_taken" AS "t1"
    GROUP BY
      1
  ) AS "t8"
) AS "t14"
  ON "t20"."id" = "t14"."taken_episode"
LEFT OUTER JOIN (
  SELECT
    "t0"."episode" AS "pair_episode",
    "t0"."pair_a",
    "t0"."pair_b",
    "t0"."pair_requests"
  FROM "details_pair" AS "t0"
) AS "t7"
  ON "t20"."id" = "t7"."pair_episode"

-- details_pair
SELECT
  "t29"."episode",
  AVG("t29"."value_A") AS "pair_a",
  AVG("t29"."value_B") AS "pair_b",
  COUNT(*) AS "pair_requests"
FROM (
  SELECT
    "t28"."episode",
    "t28"."task_id",
    "t28"."value_A",
    COALESCE("t28"."value", 0.0) AS "value_B"
  FROM (
    SELECT
      "t27".*
      EXCLUDE ("scored")
    FROM (
      SELECT
        "t26"."episode",
        "t26"."task_id",
        "t26"."value_A",
        "t8"."scored",
        "t8"."value"
      FROM (
        SELECT
          "t24"."episode",
          "t24"."task_id",
          "t24"."value_A"
        FROM (
          SELECT
            "t23"."episode",
            "t23"."task_id",
            "t23"."value_A",
            "t13"."asked"
          FROM (
            SELECT
              "t21"."episode",
              "t21"."task_id",
              COALESCE("t21"."value", 0.0) AS "value_A"
            FROM (
              SELECT
                "t20"."episode",
                "t20"."task_id",
                "t9"."scored",
                "t9"."value"
              FROM (
                SELECT
                  "t18"."episode",
                  "t18"."task_id"
                FROM (
                  SELECT
                    "t17"."episode",
                    "t17"."task_id",
                    "t14"."asked"
                  FROM (
                    SELECT
                      "t15"."episode",
                      "t15"."task_id"
                    FROM (
                      SELECT
                        "t4"."episode",
                        "t4"."task_id",
                        "t12"."seen"
                      FROM "details_routed" AS "t4"
                      INNER JOIN (
                        SELECT
                          "t3"."task" AS "seen"
                        FROM "continuation" AS "t3"
                        WHERE
                          "t3"."horizon" = '30s' AND "t3"."chars" IS NOT NULL
                      ) AS "t12"
                        ON "t4"."task_id" = "t12"."seen"
                    ) AS "t15"
                  ) AS "t17"
                  INNER JOIN (
                    SELECT
                      "t1"."task" AS "asked"
                    FROM "attempt" AS "t1"
                    WHERE
                      NOT (
                        "t1"."status" IN ('refused', 'over_budget')
                      ) AND "t1"."label" = 'A'
                  ) AS "t14"
                    ON "t17"."task_id" = "t14"."asked"
                ) AS "t18"
              ) AS "t20"
              LEFT OUTER JOIN (
                SELECT
                  "t0"."task" AS "scored",
                  "t0"."value"
                FROM "score" AS "t0"
                WHERE
                  "t0"."metric" = 'first_line_similarity'
                  AND "t0"."horizon" = '30s'
                  AND "t0"."value" IS NOT NULL
                  AND "t0"."label" = 'A'
              ) AS "t9"
                ON "t20"."task_id" = "t9"."scored"
            ) AS "t21"
          ) AS "t23"
          INNER JOIN (
            SELECT
              "t1"."task" AS "asked"
            FROM "attempt" AS "t1"
            WHERE
              NOT (
                "t1"."status" IN ('refused', 'over_budget')
              ) AND "t1"."label" = 'B'
          ) AS "t13"
            ON "t23"."task_id" = "t13"."asked"
        ) AS "t24"
      ) AS "t26"
      LEFT OUTER JOIN (
        SELECT
          "t0"."task" AS "scored",
          "t0"."value"
        FROM "score" AS "t0"
        WHERE
          "t0"."metric" = 'first_line_similarity'
          AND "t0"."horizon" = '30s'
          AND "t0"."value" IS NOT NULL
          AND "t0"."label" = 'B'
      ) AS "t8"
        ON "t26"."task_id" = "t8"."scored"
    ) AS "t27"
  ) AS "t28"
) AS "t29"
GROUP BY
  1

-- details_routed
SELECT
  "t12"."episode",
  "t12"."task_id"
FROM (
  SELECT
    "t11"."episode",
    "t7"."task_id",
    "t7"."assignment"
  FROM (
    SELECT
      "t9"."id" AS "episode"
    FROM (
      SELECT
        "t8"."id",
        "t8"."trial",
        "t8"."session",
        "t8"."unit",
        "t8"."document",
        "t8"."shown",
        "t8"."propensity_a",
        "t8"."propensity_b",
        "t8"."propensity_none",
        "t8"."is_sampled",
        "t8"."reason",
        "t8"."opened_ns",
        "t8"."opened_at",
        "t8"."closes_ns",
        "t6"."whose",
        "t6"."number"
      FROM (
        SELECT
          *
        FROM "assignment" AS "t1"
        WHERE
          "t1"."unit" = 'episode' AND "t1"."is_sampled" = 1
      ) AS "t8"
      INNER JOIN (
        SELECT
          "t2"."session" AS "whose",
          "t2"."number"
        FROM "chosen" AS "t2"
      ) AS "t6"
        ON "t8"."session" = "t6"."whose"
    ) AS "t9"
    WHERE
      "t9"."shown" = 'none'
  ) AS "t11"
  INNER JOIN (
    SELECT
      "t0"."task_id",
      "t0"."assignment"
    FROM "details_task" AS "t0"
    WHERE
      "t0"."disposition" = 'routed'
  ) AS "t7"
    ON "t11"."episode" = "t7"."assignment"
) AS "t12"

-- details_session
SELECT
  "t3"."number",
  COALESCE("t7"."attempts_A", 0) AS "attempts_A",
  COALESCE("t7"."failed_A", 0) AS "failed_A",
  COALESCE("t7"."cost_A", 0) AS "cost_A",
  COALESCE("t7"."priced_A", 0) AS "priced_A",
  COALESCE("t7"."tokens_in_A", 0) AS "tokens_in_A",
  COALESCE("t7"."tokens_out_A", 0) AS "tokens_out_A",
  COALESCE("t7"."timed_A", 0) AS "timed_A",
  COALESCE("t7"."log_latency_A", 0) AS "log_latency_A",
  COALESCE("t7"."attempts_B", 0) AS "attempts_B",
  COALESCE("t7"."failed_B", 0) AS "failed_B",
  COALESCE("t7"."cost_B", 0) AS "cost_B",
  COALESCE("t7"."priced_B", 0) AS "priced_B",
  COALESCE("t7"."tokens_in_B", 0) AS "tokens_in_B",
  COALESCE("t7"."tokens_out_B", 0) AS "tokens_out_B",
  COALESCE("t7"."timed_B", 0) AS "timed_B",
  COALESCE("t7"."log_latency_B", 0) AS "log_latency_B"
FROM (
  SELECT
    "t0"."number"
  FROM "chosen" AS "t0"
) AS "t3"
LEFT OUTER JOIN (
  SELECT
    "t5"."number" AS "counted",
    "t5"."attempts_A",
    "t5"."failed_A",
    "t5"."cost_A",
    "t5"."priced_A",
    "t5"."tokens_in_A",
    "t5"."tokens_out_A",
    "t5"."timed_A",
    "t5"."log_latency_A",
    "t5"."attempts_B",
    "t5"."failed_B",
    "t5"."cost_B",
    "t5"."priced_B",
    "t5"."tokens_in_B",
    "t5"."tokens_out_B",
    "t5"."timed_B",
    "t5"."log_latency_B"
  FROM (
    SELECT
      "t4"."number",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."attempts" ELSE 0 END) AS "attempts_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."failed" ELSE 0 END) AS "failed_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."cost" ELSE 0 END) AS "cost_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."priced" ELSE 0 END) AS "priced_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."tokens_in" ELSE 0 END) AS "tokens_in_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."tokens_out" ELSE 0 END) AS "tokens_out_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."timed" ELSE 0 END) AS "timed_A",
      SUM(CASE WHEN "t4"."label" = 'A' THEN "t4"."log_latency" ELSE 0 END) AS "log_latency_A",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."attempts" ELSE 0 END) AS "attempts_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."failed" ELSE 0 END) AS "failed_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."cost" ELSE 0 END) AS "cost_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."priced" ELSE 0 END) AS "priced_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."tokens_in" ELSE 0 END) AS "tokens_in_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."tokens_out" ELSE 0 END) AS "tokens_out_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."timed" ELSE 0 END) AS "timed_B",
      SUM(CASE WHEN "t4"."label" = 'B' THEN "t4"."log_latency" ELSE 0 END) AS "log_latency_B"
    FROM (
      SELECT
        "t1"."number",
        "t1"."label",
        "t1"."status",
        "t1"."error_kind",
        "t1"."bin",
        "t1"."is_cut_off",
        "t1"."n",
        "t1"."answered",
        "t1"."cost",
        "t1"."priced",
        "t1"."tokens_in",
        "t1"."tokens_out",
        "t1"."log_latency",
        "t1"."n" AS "attempts",
        CASE
          WHEN "t1"."status" IN ('timeout', 'error', 'refused', 'cancelled', 'over_budget')
          THEN "t1"."n"
          ELSE 0
        END AS "failed",
        CASE WHEN "t1"."bin" IS NOT NULL THEN "t1"."n" ELSE 0 END AS "timed"
      FROM "details_attempt" AS "t1"
    ) AS "t4"
    GROUP BY
      1
  ) AS "t5"
) AS "t7"
  ON "t3"."number" = "t7"."counted"

-- details_taken
SELECT
  "t10"."id",
  "t10"."number",
  "t10"."label",
  "t10"."assignment",
  "t10"."chars",
  "t10"."kept_30",
  "t10"."kept_120",
  "t10"."kept_300",
  "t10"."kept_600",
  COALESCE(
    COALESCE("t10"."kept_600", "t10"."kept_300", "t10"."kept_120", "t10"."kept_30") * "t10"."chars",
    0.0
  ) AS "stands"
FROM (
  SELECT
    "t9"."id",
    MAX("t9"."number") AS "number",
    MAX("t9"."label") AS "label",
    MAX("t9"."assignment") AS "assignment",
    COALESCE(MAX("t9"."chars"), 0) AS "chars",
    MAX(CASE WHEN "t9"."horizon" = '30s' THEN "t9"."value" ELSE CAST(NULL AS DOUBLE) END) AS "kept_30",
    MAX(
      CASE WHEN "t9"."horizon" = '120s' THEN "t9"."value" ELSE CAST(NULL AS DOUBLE) END
    ) AS "kept_120",
    MAX(
      CASE WHEN "t9"."horizon" = '300s' THEN "t9"."value" ELSE CAST(NULL AS DOUBLE) END
    ) AS "kept_300",
    MAX(
      CASE WHEN "t9"."horizon" = '600s' THEN "t9"."value" ELSE CAST(NULL AS DOUBLE) END
    ) AS "kept_600"
  FROM (
    SELECT
      "t6"."id",
      "t6"."suggestion",
      "t6"."task",
      "t6"."label",
      "t6"."chars",
      "t7"."task_id",
      "t7"."number",
      "t7"."assignment",
      "t8"."of",
      "t8"."of_task",
      "t8"."horizon",
      "t8"."value"
    FROM (
      SELECT
        "t0"."id",
        "t0"."suggestion",
        "t0"."task",
        "t0"."label",
        "t0"."accepted_chars" AS "chars"
      FROM "outcome" AS "t0"
      WHERE
        "t0"."outcome" IN ('accepted', 'partly_accepted')
    ) AS "t6"
    INNER JOIN (
      SELECT
        "t1"."task_id",
        "t1"."number",
        "t1"."assignment"
      FROM "details_task" AS "t1"
      WHERE
        "t1"."assignment" IS NOT NULL
    ) AS "t7"
      ON "t6"."task" = "t7"."task_id"
    LEFT OUTER JOIN (
      SELECT
        "t2"."suggestion" AS "of",
        "t2"."task" AS "of_task",
        "t2"."horizon",
        "t2"."value"
      FROM "score" AS "t2"
      WHERE
        "t2"."metric" = 'kept_share' AND "t2"."value" IS NOT NULL
    ) AS "t8"
      ON "t6"."task" = "t8"."of_task" AND "t6"."suggestion" = "t8"."of"
  ) AS "t9"
  GROUP BY
    1
) AS "t10"

-- details_task
SELECT
  "t4"."number",
  "t2"."assignment",
  "t2"."disposition",
  "t2"."place",
  "t2"."id" AS "task_id",
  COALESCE("t2"."language", 'unknown') AS "language",
  SUBSTRING(
    "t2"."requested_at",
    CASE WHEN (
      0 + 1
    ) >= 1 THEN 0 + 1 ELSE 0 + 1 + LENGTH("t2"."requested_at") END,
    10
  ) AS "day"
FROM "task" AS "t2"
INNER JOIN (
  SELECT
    "t1"."session" AS "whose",
    "t1"."number"
  FROM "chosen" AS "t1"
) AS "t4"
  ON "t2"."session" = "t4"."whose"

-- last_sessions
SELECT
  "t0"."trial",
  MAX("t0"."started_at") AS "last"
FROM "session" AS "t0"
GROUP BY
  1

-- lone_incidents
SELECT
  "t1"."kind",
  SUM("t1"."count") AS "n"
FROM (
  SELECT
    *
  FROM "incident" AS "t0"
  WHERE
    "t0"."session" IS NULL
) AS "t1"
GROUP BY
  1

-- new_attempt
SELECT
  "t1"."label",
  "t1"."status",
  "t1"."error_kind",
  "t1"."bin",
  "t1"."is_cut_off",
  SUM("t1"."n") AS "n",
  SUM("t1"."answered") AS "answered"
FROM (
  SELECT
    "t0"."number" AS "sum",
    "t0"."label",
    "t0"."status",
    "t0"."error_kind",
    "t0"."bin",
    "t0"."is_cut_off",
    "t0"."n",
    "t0"."answered",
    "t0"."cost",
    "t0"."priced",
    "t0"."tokens_in",
    "t0"."tokens_out",
    "t0"."log_latency"
  FROM "details_attempt" AS "t0"
) AS "t1"
GROUP BY
  1,
  2,
  3,
  4,
  5

-- new_count
SELECT
  "t1"."name",
  "t1"."label",
  "t1"."key",
  "t1"."other",
  SUM("t1"."n") AS "n",
  SUM("t1"."total") AS "total",
  COUNT(*) AS "sessions"
FROM (
  SELECT
    "t0"."number" AS "sum",
    "t0"."name",
    "t0"."label",
    "t0"."key",
    "t0"."other",
    "t0"."n",
    "t0"."total"
  FROM "details_count" AS "t0"
) AS "t1"
GROUP BY
  1,
  2,
  3,
  4

-- new_episode
SELECT
  "t0"."number" AS "sum",
  "t0"."position",
  "t0"."opened",
  "t0"."window_ms",
  "t0"."shown",
  "t0"."share_a",
  "t0"."share_b",
  "t0"."share_none",
  "t0"."tasks",
  "t0"."asked",
  "t0"."routed",
  "t0"."accepted",
  "t0"."accepted_chars",
  "t0"."kept_chars",
  "t0"."pair_a",
  "t0"."pair_b",
  "t0"."pair_requests"
FROM "details_episode" AS "t0"

-- new_session
SELECT
  "t0"."number" AS "sum",
  "t0"."attempts_A",
  "t0"."failed_A",
  "t0"."cost_A",
  "t0"."priced_A",
  "t0"."tokens_in_A",
  "t0"."tokens_out_A",
  "t0"."timed_A",
  "t0"."log_latency_A",
  "t0"."attempts_B",
  "t0"."failed_B",
  "t0"."cost_B",
  "t0"."priced_B",
  "t0"."tokens_in_B",
  "t0"."tokens_out_B",
  "t0"."timed_B",
  "t0"."log_latency_B"
FROM "details_session" AS "t0"

-- sessions
SELECT
  "t2"."id",
  "t2"."trial",
  "t2"."origin",
  "t2"."door",
  "t2"."developer",
  "t2"."repository",
  "t2"."started_at",
  "t4"."ended_at",
  "t4"."dropped"
FROM "session" AS "t2"
LEFT OUTER JOIN (
  SELECT
    "t1"."session" AS "ended",
    "t1"."ended_at",
    "t1"."dropped_events" AS "dropped"
  FROM "session_end" AS "t1"
) AS "t4"
  ON "t2"."id" = "t4"."ended"

-- some_attempt
SELECT
  "t4"."label",
  "t4"."status",
  "t4"."error_kind",
  "t4"."bin",
  "t4"."is_cut_off",
  SUM("t4"."n") AS "n",
  SUM("t4"."answered") AS "answered"
FROM (
  SELECT
    "t2"."sum",
    "t2"."label",
    "t2"."status",
    "t2"."error_kind",
    "t2"."bin",
    "t2"."is_cut_off",
    "t2"."n",
    "t2"."answered"
  FROM "attempt_sum" AS "t2"
  SEMI JOIN "chosen_sum" AS "t3"
    ON "t2"."sum" = "t3"."sum"
) AS "t4"
GROUP BY
  1,
  2,
  3,
  4,
  5

-- some_count
SELECT
  "t4"."name",
  "t4"."label",
  "t4"."key",
  "t4"."other",
  SUM("t4"."n") AS "n",
  SUM("t4"."total") AS "total",
  COUNT(*) AS "sessions"
FROM (
  SELECT
    "t2"."sum",
    "t2"."name",
    "t2"."label",
    "t2"."key",
    "t2"."other",
    "t2"."n",
    "t2"."total"
  FROM "count_sum" AS "t2"
  SEMI JOIN "chosen_sum" AS "t3"
    ON "t2"."sum" = "t3"."sum"
) AS "t4"
GROUP BY
  1,
  2,
  3,
  4

-- some_episode
SELECT
  "t2"."sum",
  "t2"."position",
  "t2"."opened",
  "t2"."window_ms",
  "t2"."shown",
  "t2"."share_a",
  "t2"."share_b",
  "t2"."share_none",
  "t2"."tasks",
  "t2"."asked",
  "t2"."routed",
  "t2"."accepted",
  "t2"."accepted_chars",
  "t2"."kept_chars",
  "t2"."pair_a",
  "t2"."pair_b",
  "t2"."pair_requests"
FROM "episode_sum" AS "t2"
SEMI JOIN "chosen_sum" AS "t3"
  ON "t2"."sum" = "t3"."sum"

-- some_session
SELECT
  "t4"."sum",
  "t4"."attempts_A",
  "t4"."failed_A",
  "t4"."cost_A",
  "t4"."priced_A",
  "t4"."tokens_in_A",
  "t4"."tokens_out_A",
  "t4"."timed_A",
  "t4"."log_latency_A",
  "t4"."attempts_B",
  "t4"."failed_B",
  "t4"."cost_B",
  "t4"."priced_B",
  "t4"."tokens_in_B",
  "t4"."tokens_out_B",
  "t4"."timed_B",
  "t4"."log_latency_B"
FROM (
  SELECT
    "t0"."id" AS "sum",
    "t0"."session",
    "t0"."version",
    "t0"."made_at",
    "t0"."attempts_A",
    "t0"."failed_A",
    "t0"."cost_A",
    "t0"."priced_A",
    "t0"."tokens_in_A",
    "t0"."tokens_out_A",
    "t0"."timed_A",
    "t0"."log_latency_A",
    "t0"."attempts_B",
    "t0"."failed_B",
    "t0"."cost_B",
    "t0"."priced_B",
    "t0"."tokens_in_B",
    "t0"."tokens_out_B",
    "t0"."timed_B",
    "t0"."log_latency_B"
  FROM "session_sum" AS "t0"
) AS "t4"
SEMI JOIN "chosen_sum" AS "t2"
  ON "t4"."sum" = "t2"."sum"

-- summed
SELECT
  "t0"."id",
  "t0"."session",
  "t0"."version",
  "t0"."made_at"
FROM "session_sum" AS "t0"

-- trials
SELECT
  *
FROM "trial" AS "t0"
ORDER BY
  "t0"."created_at" ASC,
  "t0"."id" ASC
